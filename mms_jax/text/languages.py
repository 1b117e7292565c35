"""Language codes, and suggestions of codes for names, other codes and misspellings."""

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence

from mms_jax.errors import LanguageError

ANY_LANGUAGE = "und"  # ISO 639 for "undetermined": a recognizer that does not distinguish languages


def find_language(language: str, known: Sequence[str]) -> int:
    """The position of a language code in `known`.

    Codes are ISO 639-3, some with the script that a text is written in: "uzb-script_latin".

    Raises:
      LanguageError: it is unknown; the message names the scripts of the same language, or the languages whose name, other
        code or macrolanguage it is ("swahili", "sw", "swa" for swh), or the nearest codes and names.
    """
    if language in known:
        return known.index(language)
    root = language.split("-")[0]
    if near := [code for code in known if code.split("-")[0] == root]:
        hint = "this language is written as"
    elif near := _named(language, known):
        hint = "you may mean"
    elif len(known) > 12:
        near, hint = difflib.get_close_matches(language, known, n=3, cutoff=0.5) or list(known[:12]), "the nearest are"
    else:
        near, hint = list(known), "it knows"
    raise LanguageError(f"no language {language!r} in this model; {hint} {', '.join(map(titled, near[:12]))}")


def check_code(language: str) -> None:
    """Refuses what is no language code, before anything is trained or written under it.

    Codes are ISO 639-3, with an optional script or dialect ("azj-script_latin"); qaa to qtz are free for languages that the
    standard lacks.

    Raises:
      LanguageError: another string; the message names the languages whose name or other code it is.
    """
    import iso639

    root, dash, variant = language.partition("-")
    free = re.fullmatch("q[a-t][a-z]", root) is not None
    known = free
    with contextlib.suppress(iso639.LanguageNotFoundError):
        known = known or (len(root) == 3 and bool(iso639.Language.from_part3(root)))
    if known and (not dash or re.fullmatch("[A-Za-z0-9_]+", variant)):
        return
    near = [found] if (found := code_of(language.lower())) else []
    near = near or _named(language, [entry.part3 for entry in iso639.ALL_LANGUAGES])
    hint = f"; you may mean {', '.join(map(titled, near[:5]))}" if near else ""
    raise LanguageError(f"{language!r} is no language code; give ISO 639-3, three letters as in swh{hint}")


def code_of(name: str) -> str | None:
    """The ISO 639-3 code of a language with this name or other code; None if there is none."""
    import iso639

    for spelled in (name, name.title()):
        with contextlib.suppress(iso639.LanguageNotFoundError):
            return iso639.Language.match(spelled).part3
    return None


def _named(query: str, known: Sequence[str]) -> list[str]:
    """The codes of the languages with this name, or with a similar one."""
    codes: dict[str, list[str]] = {}
    for code in known:
        for name in _names(code):
            codes.setdefault(name.lower(), []).append(code)
    close = difflib.get_close_matches(query.lower(), codes, n=3, cutoff=0.8) if len(query) > 3 else []
    names = [query.lower()] if query.lower() in codes else close
    return list(dict.fromkeys(code for name in names for code in codes[name]))


def _names(code: str) -> Iterator[str]:
    """English names without parenthesized remarks, and two-letter and bibliographic codes; the macrolanguage's too."""
    import iso639  # its tables take half a second to load, and only mistakes need them

    try:
        language = iso639.Language.from_part3(code.split("-")[0])
    except iso639.LanguageNotFoundError:
        return
    yield _bare(language.name)
    yield from (_bare(other.print) for other in language.other_names or ())
    yield from (part for part in (language.part1, language.part2b) if part)
    if language.macrolanguage and language.macrolanguage != code:
        yield language.macrolanguage
        yield from _names(language.macrolanguage)


def titled(code: str) -> str:
    """A code with its English name: swh (Swahili)."""
    name = next(_names(code), None)
    return f"{code} ({name})" if name else code


def _bare(name: str) -> str:
    return name.split(" (")[0]
