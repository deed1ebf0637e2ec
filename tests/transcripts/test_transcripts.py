"""The transcripts beside this file are executable documentation of Raft's behaviour.

A change that alters a trace must be looked at; then UPDATE_TRANSCRIPTS=1 rewrites the files.
"""

from pathlib import Path

import pytest

from support.raft_transcript import IS_UPDATE, Transcript

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_transcript_tells_what_happens(path: Path) -> None:
    played = Transcript().play(path)
    if IS_UPDATE:
        path.write_text(played)
    assert played == path.read_text()


def test_there_are_transcripts() -> None:
    assert len(FILES) >= 10
