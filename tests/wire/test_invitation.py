"""An invitation: one line to paste, that says the same on the other side or nothing at all."""

import base64
from hashlib import sha256

import pytest
from headwater_wire.errors import Malformed
from headwater_wire.invitation import Invitation, decode, encode
from headwater_wire.v1 import enrolment_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

INVITATIONS = st.builds(
    Invitation,
    st.from_regex(r"[a-z0-9.-]{1,40}:[0-9]{1,5}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
)
ONE = Invitation("control.example:8447", bytes(range(32)), bytes(range(32, 64)))
LINE = (
    "hw1.ChRjb250cm9sLmV4YW1wbGU6ODQ0NxIgAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8aICAhIiMkJS"
    "YnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_85puIg"
)


def spelled(message: pb.Invitation) -> str:
    """Write any message down as an invitation, with check digits that fit."""
    data = message.SerializeToString()
    check = sha256(b"hw1." + data).digest()[:4]
    return "hw1." + base64.urlsafe_b64encode(data + check).decode().rstrip("=")


@given(INVITATIONS, st.sampled_from(["", " ", "\n", "\r\n"]))
def test_an_invitation_comes_back(invitation: Invitation, around: str) -> None:
    """As one word that a shell and a URL leave as it is, whatever blanks were pasted with it."""
    line = encode(invitation)
    assert line.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert decode(around + line + around) == invitation


@given(INVITATIONS, st.data())
def test_a_mistyped_letter_is_noticed(invitation: Invitation, data: st.DataObject) -> None:
    """It is refused, or (by a bit that base64 does not use) changes nothing: it never says something else."""
    line = encode(invitation)
    place = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.characters(min_codepoint=33, max_codepoint=126))
    try:
        assert decode(line[:place] + letter + line[place + 1 :]) == invitation
    except Malformed:
        return


@given(INVITATIONS, st.data())
def test_one_flipped_bit_of_what_it_holds_is_refused(invitation: Invitation, data: st.DataObject) -> None:
    """Of each bit, the check digits' too."""
    raw = bytearray(base64.urlsafe_b64decode(encode(invitation).removeprefix("hw1.") + "==="))
    place = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(Malformed, match="damaged, or cut short"):
        decode("hw1." + base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(INVITATIONS, st.data())
def test_half_an_invitation_is_refused(invitation: Invitation, data: st.DataObject) -> None:
    """Wherever the line was cut, and whatever was pasted after it."""
    line = encode(invitation)
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(Malformed, match="paste the whole line"):
        decode(line[:cut])
    with pytest.raises(Malformed):
        decode(line + line)


@given(st.text(max_size=200))
def test_what_is_no_invitation_is_refused_with_a_sentence(text: str) -> None:
    """Any text, with or without the beginning of one."""
    for attempt in (text, "hw1." + text):
        with pytest.raises(Malformed, match="paste the whole line"):
            decode(attempt)


@pytest.mark.parametrize(
    "lacking",
    [
        pb.Invitation(fingerprint=bytes(32), secret=bytes(32)),
        pb.Invitation(address="a:1", fingerprint=bytes(31), secret=bytes(32)),
        pb.Invitation(address="a:1", fingerprint=bytes(32), secret=bytes(33)),
        pb.Invitation(),
    ],
)
def test_an_invitation_that_lacks_something_is_refused(lacking: pb.Invitation) -> None:
    """Though its check digits fit: an address, a whole fingerprint and a whole secret are needed."""
    with pytest.raises(Malformed, match="lacks something"):
        decode(spelled(lacking))


def test_the_secret_is_not_printed() -> None:
    """A log line or traceback that shows an invitation does not show what lets one in."""
    assert "secret" not in repr(ONE)
    assert repr(ONE.secret) not in repr(ONE)


def test_an_invitation_printed_by_an_earlier_release_is_read() -> None:
    """Golden: the line stays as it is."""
    assert encode(ONE) == LINE
    assert decode(LINE) == ONE
