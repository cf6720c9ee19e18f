"""Which texts are addresses of servers."""

import pytest

from solon.config.addresses import address_fault
from solon.errors import without_credentials


@pytest.mark.parametrize(
    "address", ["http://", "http://h:port", "http://[::1", "http://h\r\nX: y", "http://ħ", "h:80", ""]
)
def test_a_text_that_is_not_an_address_is_refused(address: str) -> None:
    assert address_fault(address) == "not a valid address"


@pytest.mark.parametrize("address", ["http://h", "https://h:8000/score", "http://[::1]:8000/"])
def test_an_address_is_taken(address: str) -> None:
    assert address_fault(address) is None and without_credentials(address) == address
