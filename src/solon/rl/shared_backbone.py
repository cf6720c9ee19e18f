"""One frozen backbone for all networks of reinforcement learning: each network is an adapter.

Policy, reference, value function and preference model are LoRA adapters (Hu et al. 2022) on the pretrained model that
SL-CAI and the preference model were both trained from, so the large weights are in memory once instead of four times
(Santacroce et al. 2023). The policy starts as SL-CAI's adapter and the value function as the preference model's, with a
separate head, unless it is a head on the policy. Frozen copies of both adapters are the reference and the preference
model.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from solon.config.recipe import Activations, EngineSettings, Precision, ValueFunction
from solon.errors import ModelError
from solon.model_folders.load import adapter_settings, load_config
from solon.training.forward import ScalarModel, TokenModel
from solon.training.gradient_checkpointing import checkpoint_activations
from solon.training.models import DEFAULT_ADAPTER, load_causal_lm

POLICY, REFERENCE, VALUE, PREFERENCE = DEFAULT_ADAPTER, "reference", "value", "preference"
"""The adapters' names; the policy's is peft's own default, so that it is saved as an ordinary adapter."""
_HEAD = "score.weight"


class SharedBackbone:
    """The networks on one backbone; the policy's adapter is active except inside `using`."""

    def __init__(
        self,
        base: Path,
        sl_cai: Path,
        preference: Path,
        settings: EngineSettings,
        precision: Precision = Precision.FLOAT32,
        activations: Activations = Activations.KEPT,
        value_function: ValueFunction = ValueFunction.SEPARATE,
    ) -> None:
        """Load `base` and the folders `adapter` of the models `sl_cai` and `preference`, trained from it.

        Raises ModelError when either was not trained as an adapter of a model of the base's shape.
        """
        self.precision = precision
        model = load_causal_lm(base, settings, precision)
        self.backbone = model
        of_values = {VALUE: preference} if value_function is ValueFunction.SEPARATE else {}
        names = {POLICY: sl_cai, REFERENCE: sl_cai, **of_values, PREFERENCE: preference}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated function of transformers
            self.model = PeftModel(model, _config(sl_cai), adapter_name=POLICY)
            for name, folder in names.items():
                if name != POLICY:
                    self.model.add_adapter(name, _config(folder))
                self._fill(name, folder)
        self.model.eval()
        head = _head_in(preference)
        device = model.device
        self._heads = {name: _linear(head, device) for name in (VALUE, PREFERENCE) if name in names}
        self._learning = [*self.parameters(POLICY).values(), *self.parameters(VALUE).values()]
        self._frozen = [*self.parameters(REFERENCE).values(), *self.parameters(PREFERENCE).values()]
        self._activate(POLICY)
        checkpoint_activations(self.model, activations, self._as_now)
        self.policy = TokenModel(self.model, precision)
        self.preference = self._scalar(PREFERENCE)

    @property
    def value(self) -> ScalarModel:
        """The value function, where it has an adapter of its own."""
        return self._scalar(VALUE)

    def parameters(self, adapter: str) -> dict[str, nn.Parameter]:
        """The trainable parameters of an adapter by name: its matrices, and its head if it has one."""
        found = {name: each for name, each in self.model.named_parameters() if f".{adapter}." in name}
        if adapter in self._heads:
            found[_HEAD] = cast(nn.Parameter, self._heads[adapter].weight)
        return found

    @contextmanager
    def using(self, adapter: str) -> Iterator[None]:
        """Activate another adapter than the policy's for the length of a block."""
        self._activate(adapter)
        try:
            yield
        finally:
            self._activate(POLICY)

    def _activate(self, adapter: str) -> None:
        self.model.set_adapter(adapter)
        # peft makes only the active adapter trainable; a backward pass may still need the other one.
        for parameter in self._frozen:
            parameter.requires_grad_(False)
        for parameter in self._learning:
            parameter.requires_grad_(True)

    def _as_now(self) -> AbstractContextManager[None]:
        """A block with the adapter that is active now: layers may be recomputed after another one was activated."""
        return self.using(self.model.active_adapter)

    def _scalar(self, adapter: str) -> ScalarModel:
        return ScalarModel(self.model, self._heads[adapter], lambda: self.using(adapter), self.precision)

    def _fill(self, name: str, folder: Path) -> None:
        """Copy an adapter's matrices, without the head of a classifier."""
        given = _tensors(folder / "adapter" / "adapter_model.safetensors")
        matrices = {key: tensor for key, tensor in given.items() if ".lora_" in key}
        result: Any = set_peft_model_state_dict(self.model, dict(matrices), adapter_name=name)
        own = [each for each, _ in self.model.named_parameters() if f".{name}." in each]
        if not matrices or result.unexpected_keys or len(own) != len(matrices) or not self._same_shape(folder):
            raise ModelError("the adapter does not fit the backbone", place=str(folder), remedy=_REMEDY)

    def _same_shape(self, folder: Path) -> bool:
        """Whether a model has the backbone's architecture and sizes; its vocabulary may have grown by padding."""
        own, other = self.backbone.config.get_text_config(), load_config(folder)
        other = other.get_text_config()
        return all(getattr(own, name, None) == getattr(other, name, None) for name in _SHAPE)


_SHAPE = ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
_REMEDY = "Train SL-CAI and the preference model with LoRA from one model, or use --set rl.networks=separate"


def _config(folder: Path) -> LoraConfig:
    if not (folder / "adapter" / "adapter_config.json").is_file():
        raise ModelError("the model was not trained as an adapter", place=str(folder), remedy=_REMEDY)
    read = adapter_settings(folder / "adapter")
    return LoraConfig(
        r=read.rank,
        lora_alpha=cast(int, read.alpha),  # a float serves as well
        lora_dropout=0.0,
        target_modules=list(read.targets),
        task_type=TaskType.CAUSAL_LM,
    )


def _head_in(folder: Path) -> Tensor:
    """Only the preference model's head: its other weights are the backbone's, which would then be in memory twice."""
    file = folder / "model.safetensors"
    try:
        with safe_open(file, framework="pt") as stored:
            names = list(stored.keys())
            if _HEAD in names:
                return cast(Tensor, stored.get_tensor(_HEAD))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot be read ({' '.join(str(error).split())[:200]})", place=str(file)) from error
    raise ModelError(f"the preference model has no weight '{_HEAD}'", place=str(folder), remedy=_REMEDY)


def _tensors(file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot be read ({' '.join(str(error).split())[:200]})", place=str(file)) from error


def _linear(weight: Tensor, device: torch.device) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=device)
    with torch.no_grad():
        head.weight.copy_(weight)
    return head
