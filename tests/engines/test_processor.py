"""Fields of the processor's description, whatever else stands in the file."""

from __future__ import annotations

from pathlib import Path

from solon.engines.processor import processor_field


def test_a_field_has_a_value_for_each_core(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_bytes(b"processor\t: 0\nmodel name\t: A: fast\xff one\n\nprocessor\t: 1\nmodel name\t: B\n")
    assert processor_field("model name", file) == ["A: fast\N{REPLACEMENT CHARACTER} one", "B"]
    assert processor_field("model", file) == []


def test_a_system_that_does_not_tell_has_no_values(tmp_path: Path) -> None:
    assert processor_field("model name", tmp_path / "nothing") == []
