"""The command itself: help of every subcommand, and which errors become a line."""

import pytest

import mms_jax
from mms_jax import cli
from mms_jax.errors import InputError


def test_help_names_every_subcommand(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_subcommand_has_help(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: mms-jax {name}") and cli.COMMANDS[name].split(",")[0] in " ".join(text.split())


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"mms-jax {mms_jax.__version__}\n"


def test_wrong_arguments_end_with_usage(capsys):
    for arguments in ([], ["sing"], ["transcribe"], ["convert", "only-one"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
        assert "usage: mms-jax" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "caught"), [(InputError("mend it"), True), (OSError("no disk"), True),
                                               (ValueError("shapes"), False), (RuntimeError("bug"), False)])  # fmt: skip
def test_only_errors_that_users_can_mend_become_a_line(error, caught, monkeypatch, capsys):
    def fail(arguments):
        raise error

    monkeypatch.setattr("mms_jax.cli.convert.run", fail)
    if caught:
        assert cli.main(["convert", "a", "b"]) == 1
        assert capsys.readouterr().err == f"error: {error}\n"
    else:
        with pytest.raises(type(error), match=str(error)):
            cli.main(["convert", "a", "b"])
