"""Download of a Hugging Face repository through huggingface_hub, which reads HF_ENDPOINT and HF_HUB_OFFLINE."""

import pathlib
import re
from collections.abc import Sequence

import huggingface_hub
from huggingface_hub import constants, errors

from mms_jax.errors import ConversionError, InputError
from mms_jax.files import read_json
from mms_jax.text.languages import code_of


def is_repository(name: str) -> bool:
    """Whether this looks like OWNER/NAME and not like a path."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def is_remote(name: str) -> bool:
    """Whether a name is a repository to fetch: a folder named like OWNER/NAME whose parent exists is a mistyped run."""
    path = pathlib.Path(name).expanduser()
    return is_repository(name) and not path.exists() and not path.parent.is_dir()


def fetch(repository: str, languages: Sequence[str] | None) -> pathlib.Path:
    """Downloads the files that `load_folder` needs, or finds them in the cache.

    Args:
      repository: OWNER/NAME.
      languages: the languages whose adapters are downloaded, if the model has adapters.

    Returns:
      The folder that holds the files.

    Raises:
      ConversionError: no such repository, no connection, or a file that is not there; the message says which.
      InputError: the model has adapters, and no languages are named.
    """
    config = _needed(repository, "config.json")
    for main in ("model.safetensors", "pytorch_model.bin"):
        if _wanted(repository, main):
            break
        index = _wanted(repository, f"{main}.index.json")
        if index:
            for shard in sorted(set(read_json(index, ConversionError)["weight_map"].values())):
                _needed(repository, shard)
            break
    else:
        raise ConversionError(f"{repository}: holds neither model.safetensors nor pytorch_model.bin")
    for name in ("vocab.json", "preprocessor_config.json", "tokenizer_config.json"):
        _wanted(repository, name)
    if read_json(config, ConversionError).get("adapter_attn_dim"):
        if languages is None:
            raise InputError(
                f"{repository} has an adapter for each language; name those you want: "
                f"mms_jax.load({repository!r}, languages=[...]), or --lang"
            )
        for language in languages:
            _wanted(repository, f"adapter.{language}.safetensors") or _wanted(repository, f"adapter.{language}.bin")
    return config.parent


def _wanted(repository: str, name: str) -> pathlib.Path | None:
    """The downloaded file, or None if the repository has no file of that name."""
    try:
        return pathlib.Path(huggingface_hub.hf_hub_download(repository, name))
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:  # whether the repository has it cannot be known
            return None
        raise _unreachable(repository, name, error) from error
    except errors.RepositoryNotFoundError as error:
        raise ConversionError(
            f"{repository}: no such repository, or no permission to read it{_code_hint(repository)}"
        ) from error
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, OSError) as error:
        raise _unreachable(repository, name, error) from error


def _needed(repository: str, name: str) -> pathlib.Path:
    path = _wanted(repository, name)
    if path is None:
        raise ConversionError(f"{repository}: has no {name}" + (" in the cache" if constants.HF_HUB_OFFLINE else ""))
    return path


def _code_hint(repository: str) -> str:
    """A hint for the repository of a voice whose language is given by name instead of code."""
    found = re.fullmatch(r".*mms-tts-(.+)", repository)
    if found is None:
        return ""
    code = code_of(found[1])
    named = f"; {found[1]} is {code}" if code and code != found[1] else ""
    return f"; MMS's voices are facebook/mms-tts-CODE with a code of ISO 639-3, for 1,107 languages{named}"


def _unreachable(repository: str, name: str, error: Exception) -> ConversionError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConversionError(
        f"{repository}: {name} cannot be downloaded ({reason}); check the connection (HF_ENDPOINT and HF_HUB_OFFLINE "
        "are respected)"
    )
