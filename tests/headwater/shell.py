"""Runs `headwater` commands in the test's own process."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from headwater.cli.app import main


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell:
    """Speaks to one control plane."""

    def __init__(
        self, url: str, capture: pytest.CaptureFixture[str], env: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._env = {"HEADWATER_URL": url, **env}
        self._capture = capture

    def __call__(self, *arguments: str) -> Said:
        """Run one."""
        os.environ.update(self._env)
        try:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        finally:
            for name in self._env:
                del os.environ[name]
        out, err = self._capture.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    def ok(self, *arguments: str) -> str:
        """Run one that succeeds; give what it printed."""
        said = self(*arguments)
        assert said.code == 0, said
        return said.out

    def json(self, *arguments: str) -> Any:
        """Run one with --json."""
        return json.loads(self.ok(*arguments, "--json"))
