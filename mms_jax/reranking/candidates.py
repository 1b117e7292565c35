"""The languages that a recording may be in, each with its transcript and the features that it is judged by."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from mms_jax.alignment.viterbi import align_ctc
from mms_jax.audio.inputs import check_recordings
from mms_jax.decoding.greedy import collapse
from mms_jax.errors import AlignmentError, AudioError, InputError
from mms_jax.inference.identifier import Identification, Identifier
from mms_jax.inference.recognizer import Recognizer, log_softmax
from mms_jax.inference.windows import Progress
from mms_jax.text.language_list import spoken_language
from mms_jax.text.romanize import ROMAN, romanize
from mms_jax.text.vocabulary import WORD_TOKEN, readable_symbols, spell

FEATURES = ("identifier", "recognizer", "alignment", "length")
NEVER = float(np.log(1e-9))  # of a text that cannot be aligned, and of a language that the identifier lacks


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A language with the transcript that the recognizer gives in it.

    Attributes:
      language: ISO 639-3.
      text: the transcript.
      features: by FEATURES (Yan et al. 2024, section 3): log probability of the language; log probability of the
        recognizer's best path; log probability of the romanized transcript's best alignment, 0 without an aligner; and the
        number of characters.
    """

    language: str
    text: str
    features: tuple[float, ...]


def shortlist(identifier: Identifier, known: Sequence[str], wanted: Sequence[str] | None, top: int) -> "Shortlist":
    """Prepares the choice of candidates.

    Args:
      identifier: names languages.
      known: languages of the recognizer.
      wanted: the only languages that come into question; None for all that both models know.
      top: the most candidates of a recording.

    Raises:
      InputError: a wanted language that the recognizer lacks, or none that both know.
    """
    if wanted is not None and (missing := [language for language in wanted if language not in known]):
        raise InputError(f"--candidates {','.join(missing)}: the recognizer does not read them")
    possible = [
        language
        for language in (wanted or known)
        if wanted is not None or spoken_language(language) in identifier.languages
    ]
    if not possible:
        raise InputError("identifier and recognizer have no language in common; name some with --candidates")
    return Shortlist(identifier, tuple(possible), top)


@dataclasses.dataclass(frozen=True)
class Shortlist:
    """Names the likeliest of some languages for each recording.

    Attributes:
      identifier: names languages.
      possible: the languages that come into question.
      top: the most candidates of a recording.
    """

    identifier: Identifier
    possible: tuple[str, ...]
    top: int

    def of_each(
        self, recordings: Sequence[str | os.PathLike | np.ndarray], progress: Progress | None = None
    ) -> Iterator:
        """For each recording (language, log probability) of the likeliest, best first; or its AudioError."""
        every = len(self.identifier.languages)
        for found in self.identifier.identify_each(recordings, top=every, progress=progress):
            yield found if isinstance(found, AudioError) else self._best(found)

    def _best(self, found: Identification) -> list[tuple[str, float]]:
        heard = {language: float(np.log(max(probability, 1e-9))) for language, probability in found.languages}
        scored = [(language, heard.get(spoken_language(language), NEVER)) for language in self.possible]
        return sorted(scored, key=lambda pair: -pair[1])[: self.top]


def find_candidates(
    recordings: Sequence[str | os.PathLike | np.ndarray],
    choice: Shortlist,
    recognizer: Recognizer,
    aligner: Recognizer | None = None,
    progress: Progress | None = None,
) -> Iterator[list[Candidate] | AudioError]:
    """The candidates of each recording, most probable language first; or its AudioError.

    Args:
      recordings: paths or 16 kHz waveforms.
      choice: from `shortlist`.
      recognizer: transcribes in each language.
      aligner: of romanized text, such as MMS_FA; None leaves its feature 0.
      progress: see `Identifier.identify_each`.
    """
    check_recordings(recordings, 16_000)
    for recording, named in zip(recordings, choice.of_each(recordings, progress)):
        if isinstance(named, AudioError):
            yield named
            continue
        own = _aligner_scores(aligner, recording) if aligner is not None else None
        candidates = []
        for language, identified in named:
            text, path = _transcribed(recording, language, recognizer)
            fit = alignment_score(aligner, own, text, language) if aligner is not None and own is not None else 0.0
            candidates.append(Candidate(language, text, (identified, path, fit, float(len(text)))))
        yield candidates


def _transcribed(recording: str | os.PathLike | np.ndarray, language: str, recognizer: Recognizer) -> tuple[str, float]:
    """The greedy transcript in a language, and the log probability of its path."""
    tokens = recognizer.vocabulary.tokens_of(language)

    def reduce(_: int, logits: np.ndarray) -> tuple[np.ndarray, float]:
        log_probs = log_softmax(logits)
        return log_probs.argmax(axis=-1), float(log_probs.max(axis=-1).sum())

    def finish(_: int, parts: list[tuple[np.ndarray, float]], seconds: float) -> tuple[str, float]:
        del seconds
        symbols = collapse(np.concatenate([part for part, _ in parts]))
        return spell(symbols.tolist(), tokens), sum(score for _, score in parts)

    [found] = recognizer.score_recordings([recording], language, reduce, finish, lambda number, block: None)
    return found


def _aligner_scores(aligner: Recognizer, recording: str | os.PathLike | np.ndarray) -> np.ndarray:
    language = aligner.languages[0]
    [parts] = aligner.score_recordings(
        [recording], language, lambda _, logits: log_softmax(logits), lambda _, parts, seconds: parts,
        lambda number, block: None,
    )  # fmt: skip
    return np.concatenate(parts)


def alignment_score(aligner: Recognizer, log_probs: np.ndarray, text: str, language: str) -> float:
    """The log probability of a romanized text's best alignment; a path that cannot be has NEVER for every frame.

    Args:
      aligner: of romanized text.
      log_probs: float (frames, symbols), its scores of the recording.
      text: a transcript.
      language: of the text, for the rules of romanization.
    """
    symbols = readable_symbols(aligner.vocabulary, aligner.languages[0])
    boundary = symbols.get(WORD_TOKEN)
    labels: list[int] = []
    for word in text.split():
        letters = "".join(letter for _, letter in romanize(word, language)) if _is_roman(symbols) else word
        spelled = [symbols[letter] for letter in letters if letter in symbols]
        labels += ([boundary] if labels and boundary is not None and spelled else []) + spelled
    if not labels:
        return NEVER * len(log_probs)
    try:
        return align_ctc(log_probs, labels).score
    except AlignmentError:
        return NEVER * len(log_probs)


def _is_roman(symbols: dict[str, int]) -> bool:
    return {symbol for symbol in symbols if symbol != WORD_TOKEN} <= ROMAN
