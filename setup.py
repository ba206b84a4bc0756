"Everything is in settings.ini; nbdev and setuptools share it."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
lines = lambda key: [l.strip() for l in cfg.get(key, "").splitlines() if l.strip()]
readme = here / "README.md"

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], keywords=cfg["keywords"],
    author=cfg["author"], license="Apache-2.0", license_files=["LICENSE"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "", long_description_content_type="text/markdown",
    packages=find_packages(include=["benchmark_profiling", "benchmark_profiling.*"]), include_package_data=True,
    package_data={"benchmark_profiling": ["facts/*", "py.typed"]},
    python_requires=">=" + cfg["min_python"], install_requires=lines("requirements"),
    extras_require={"llm": lines("llm_requirements"), "ray": lines("ray_requirements"), "docs": lines("docs_requirements"), "dev": lines("dev_requirements")},
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]}, zip_safe=False,
)
