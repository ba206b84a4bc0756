import os
import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def embedded():
    "The embedded model and its tokenizer."
    from benchmark_profiling.models import load_model

    return load_model("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, embedded):
    "A two-layer random Llama with the embedded model's tokenizer, as a checkpoint folder."
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    _, tokenizer = embedded
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(tiny_folder):
    from benchmark_profiling.models import load_model

    return load_model(tiny_folder)
