"""A lack of memory in training names the setting that decides how much is read at once."""

import pytest
import torch

from solon.errors import StageError
from solon.training.out_of_memory import within_memory


def test_the_setting_and_half_its_value_are_named() -> None:
    with pytest.raises(StageError) as caught, within_memory("finetune.training.micro_batch_tokens", 4096):
        torch.empty(1 << 60, dtype=torch.uint8)
    message = str(caught.value)
    assert (
        "finetune.training.micro_batch_tokens=4096" in message
        and "--set finetune.training.micro_batch_tokens=2048" in message
    )
    assert "--set finetune.training.lora.rank=16" in message and "\n" not in message


def test_another_error_stays_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="must match"), within_memory("rl.micro_batch_tokens", 4096):
        torch.zeros(2) + torch.zeros(3)
