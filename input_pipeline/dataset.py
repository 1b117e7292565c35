"""From `config.input` to plans and decoders."""

from collections.abc import Sequence

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus, CorpusError, as_text, open_corpus
from input_pipeline.decode import Decoder
from input_pipeline.plan import EvaluationPlan, TrainingPlan, make_table, sampling_weights
from mms_jax.text.normalize import normalize
from mms_jax.text.vocabulary import Vocabulary
from mms_jax.text.voice_text import Labels, VoiceText

SHORTEST_FRAME = 0.025  # seconds; shorter recordings have no frame


def open_corpora(names: Sequence[str], data_dir: str) -> list[Corpus]:
    """Opens "NAME:SPLIT" corpora, in order.

    Raises:
      CorpusError: a name without split, or a corpus that is not prepared.
    """
    corpora = []
    for name in names:
        corpus, separator, split = name.partition(":")
        if not separator:
            raise CorpusError(f"config.input: corpus {name!r} names no split; write {name}:train")
        corpora.append(open_corpus(corpus, split, data_dir))
    return corpora


def corpus_vocabulary(corpora: Sequence[Corpus]) -> Vocabulary:
    """The vocabulary that writes the transcripts of all corpora."""
    alphabets: dict[str, str] = {}
    for corpus in corpora:
        for language, letters in corpus.index.alphabets.items():
            alphabets[language] = "".join(sorted(set(alphabets.get(language, "") + letters)))
    return Vocabulary.from_alphabets(alphabets)


def corpus_voice(corpora: Sequence[Corpus], *, uroman: bool) -> VoiceText:
    """The symbols of a voice that is trained on these corpora.

    Raises:
      CorpusError: they are in several languages.
    """
    alphabets = corpus_vocabulary(corpora).alphabets
    if len(alphabets) != 1:
        raise CorpusError(
            f"config.input.corpora: a voice speaks one language, these hold {', '.join(alphabets)}; choose one "
            "recording with python -m input_pipeline.prepare voice"
        )
    [(language, characters)] = alphabets.items()
    return VoiceText.from_characters(characters, language, uroman=uroman)


def training_data(
    config: ConfigDict, corpora: Sequence[Corpus], vocabulary: Labels | None, seed: int, *, epsilon: float | None
) -> tuple[TrainingPlan, Decoder]:
    """The plan and decoder of a training run.

    Args:
      config: `config.input`.
      corpora: opened.
      vocabulary: None where the task needs no transcripts; recordings longer than the last bucket are then cropped,
        otherwise dropped.
      seed: of the order and the crops.
      epsilon: of the normalisation of waveforms, see Decoder.
    """
    table = make_table(
        [corpus.index for corpus in corpora],
        buckets=tuple(config.bucket_seconds),
        min_seconds=config.min_seconds,
        crop=vocabulary is None,
        need_text=vocabulary is not None,
        max_characters=config.max_characters,
        positions=vocabulary.positions if vocabulary is not None else int,
    )
    if table.dropped:
        logging.info("%d utterances are too long, too short or without transcript, and left out", table.dropped)
    weights = sampling_weights(table, beta_corpus=config.beta_corpus, beta_language=config.beta_language)
    plan = TrainingPlan(
        table, weights, batch_seconds=config.batch_seconds, rows_multiple=config.rows_multiple, seed=seed
    )
    sources = [corpus.source for corpus in corpora]
    return plan, Decoder(table, sources, vocabulary, epsilon=epsilon, seed=seed, noise=config.noise)


def evaluation_data(
    config: ConfigDict, corpora: Sequence[Corpus], vocabulary: Labels | None, *, epsilon: float | None
) -> tuple[EvaluationPlan, Decoder]:
    """The plan and decoder of an evaluation: every utterance, whole, once.

    Args:
      config: `config.input`; buckets are added until the longest utterance fits.
      corpora: opened.
      vocabulary: None where the task needs no transcripts.
      epsilon: of the normalisation of waveforms, see Decoder.
    """
    longest = max(float(corpus.index.seconds.max()) for corpus in corpora)
    buckets = list(config.bucket_seconds)
    while buckets[-1] < longest:
        buckets.append(buckets[-1] * 2)
    table = make_table(
        [corpus.index for corpus in corpora],
        buckets=tuple(buckets),
        min_seconds=SHORTEST_FRAME,
        crop=False,
        need_text=vocabulary is not None,
        positions=vocabulary.positions if vocabulary is not None else int,
    )
    plan = EvaluationPlan(table, batch_seconds=config.batch_seconds, rows_multiple=config.rows_multiple)
    return plan, Decoder(table, [corpus.source for corpus in corpora], vocabulary, epsilon=epsilon, seed=0)


def references(plan: EvaluationPlan, corpora: Sequence[Corpus], items: Sequence[int]) -> tuple[list[str], list[str]]:
    """The normalised transcripts and languages of some utterances of a plan."""
    records = [corpora[plan.table.corpus[item]].source[int(plan.table.record[item])] for item in items]
    return [normalize(as_text(record["text"])) for record in records], [
        as_text(record["language"]) for record in records
    ]


def language_hours(corpora: Sequence[Corpus]) -> dict[str, float]:
    """Hours of audio by language, over all corpora."""
    hours: dict[str, float] = {}
    for corpus in corpora:
        for language in np.unique(corpus.index.language):
            chosen = corpus.index.language == language
            hours[str(language)] = hours.get(str(language), 0.0) + float(corpus.index.seconds[chosen].sum()) / 3600
    return hours
