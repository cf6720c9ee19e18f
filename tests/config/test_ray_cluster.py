"""How a cluster is named on the command line."""

import math

import pytest

from solon.config.ray_cluster import RayCluster
from solon.errors import RunError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ray", None),
        ("ray:auto", "auto"),
        ("ray:10.0.0.5:6379", "10.0.0.5:6379"),
        ("ray:ray://head:10001", "ray://head:10001"),
    ],
)
def test_an_address_follows_the_name(text: str, address: str | None) -> None:
    cluster = RayCluster.parse(text, actors=3, gpus=0.5)
    assert cluster == RayCluster(address, 3, 1.0, 0.5)
    assert str(cluster) == text


@pytest.mark.parametrize("text", ["", "spark", "ray:", "rays", "Ray"])
def test_anything_else_is_refused_with_what_to_type(text: str) -> None:
    with pytest.raises(RunError, match=r"Use --on ray, --on ray:ADDRESS"):
        RayCluster.parse(text)


@pytest.mark.parametrize(
    "wrong", [{"actors": 0}, {"cpus": -1.0}, {"gpus": -0.5}, {"cpus": math.nan}, {"gpus": math.inf}]
)
def test_impossible_resources_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RunError, match="cannot be started"):
        RayCluster.parse("ray", **wrong)  # type: ignore[arg-type]
