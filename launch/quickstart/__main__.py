"""From nothing to a recognizer: chapters, aligner, corpus, pretraining, fine-tuning, evaluation, use; then a voice.

Every step is a command of this project, printed before it runs; its output goes to FOLDER/logs. Finished steps are not
repeated, so that an interrupted quickstart continues.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import argparse
import json
import pathlib
import time
from typing import Any

import soundfile

from input_pipeline.corpora.storage import as_text, open_corpus
from launch.quickstart import RECOGNIZERS
from launch.quickstart.chapters import MIN_SCORE, align_chapters, prepare_aligned, score_alignments, write_chapters
from launch.quickstart.plots import plot_all
from launch.steps import Steps, trains_on
from mms_jax.audio.flac import decode_flac
from mms_jax.command import leave, run_command
from mms_jax.files import write_json
from mms_jax.tasks.tts.scoring import format_table as format_voice_scores

LABELED = "spoken_phrases/labeled"
ALIGNED = "aligned_chapters/phrases"
NOISE = (10.0, 50.0)  # dB below the speech
VOICE_TEXT = "mkulima mzee anakumbuka hadithi nzuri kabla ya usiku"  # the text of voice.wav
WATCH_EVERY = 50  # steps from one evaluation on the development set to the next
SHOWN = 3  # held-out recordings that the command line transcribes


class Quickstart(Steps):
    """The steps, in order; each returns when its results are in the folder."""

    def train(self, name: str, config: str, *changes: str) -> None:
        """Trains a run and evaluates its checkpoint."""
        common = (
            f"--config={config}",
            f"--workdir={self.folder / name}",
            f"--config.input.data_dir={self.data}",
        )
        watched = (f"--config.input.dev_corpora=('{LABELED}:validation',)", f"--config.eval_every={WATCH_EVERY}")
        self.command(f"train_{name}", "mms_jax.train", *common, *watched, *changes)
        scored = f"--config.input.eval_corpora=('{LABELED}:test',)"
        self.command(f"evaluate_{name}", "mms_jax.evaluate", *common, scored, show=True)

    def build_corpus(self, model: pathlib.Path) -> dict[str, float]:
        """Cuts the chapters into a corpus with an aligner; returns the errors of the verses that it found."""
        chapters, aligned = self.folder / "chapters", self.folder / "aligned"
        write_chapters(self.data, chapters)
        align_chapters(self, "align", chapters, model, aligned)
        scores = score_alignments(chapters, aligned)
        print(f"  boundaries of {scores['verses']} verses: median error {scores['median_ms']} ms, "
              f"95 % within {scores['p95_ms']} ms")  # fmt: skip
        prepare_aligned(self, ALIGNED.rpartition("/")[2], aligned, f"--min_score={MIN_SCORE}")
        return scores

    def evaluation(self, name: str) -> dict:
        """The evaluation of a run."""
        return json.loads((self.folder / name / "evaluation.json").read_text())

    def transcribe(self) -> list[dict]:
        """Transcribes held-out recordings from the command line, one call a language."""
        corpus = open_corpus(LABELED, "test", self.data)
        folder = self.folder / "held_out"
        folder.mkdir(exist_ok=True)
        shown: list[dict] = []
        languages: set[str] = set()
        for record in corpus.source:
            language = as_text(record["language"])
            if language in languages or len(shown) == SHOWN:
                continue
            languages.add(language)
            waveform, rate = decode_flac(record["audio"], as_text(record["id"]))
            path = folder / f"{as_text(record['id'])}.wav"
            soundfile.write(path, waveform, rate)
            shown.append({"file": str(path), "language": language, "reference": as_text(record["text"])})
        for row in shown:
            arguments = ("mms_jax.cli", "transcribe", row["file"], "--model", str(self.folder / "asr"))
            output = self.command(
                f"transcribe_{row['language']}", *arguments, "--lang", row["language"], "--format", "json"
            )
            answer = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
            row["text"] = answer["text"]
            print(f"  reference  {row['reference']}\n  transcript {row['text']}")
        return shown


def train_voice(steps: Quickstart) -> dict:
    """Trains a voice, evaluates it with the recognizer, and synthesizes voice.wav; returns its figures."""
    steps.command(
        "prepare_reader", "input_pipeline.prepare", "spoken_phrases", "--config=reader", f"--data_dir={steps.data}",
        show=True,
    )  # fmt: skip
    common = (
        "--config=tts_phrases",
        f"--workdir={steps.folder / 'voice'}",
        f"--config.input.data_dir={steps.data}",
        f"--config.tts.recognizer={steps.folder / 'asr'}",
    )
    steps.command("train_voice", "mms_jax.train", *common)
    steps.command("evaluate_voice", "mms_jax.evaluate", *common, show=True)
    arguments = ("mms_jax.cli", "speak", VOICE_TEXT, "--model", str(steps.folder / "voice"))
    steps.command("speak", *arguments, "--out", str(steps.folder / "voice.wav"), show=True)
    return steps.evaluation("voice")


def run(folder: pathlib.Path, *, tts: bool) -> dict:
    """Runs the whole quickstart; returns the content of results.json."""
    begun = time.monotonic()
    steps = Quickstart(folder)
    steps.command(
        "prepare",
        "input_pipeline.prepare",
        "spoken_phrases",
        "--config=labeled",
        f"--data_dir={steps.data}",
        show=True,
    )
    steps.train("pretrain", "hubert_phrases", trains_on("spoken_phrases/chapters:train"))
    small = ("--config.total_steps=600", trains_on(f"{LABELED}:train"))
    pretrained = f"--config.init_from={folder / 'pretrain'}"
    steps.side_by_side(
        {
            "aligner": lambda: steps.train("aligner", "asr_phrases", pretrained, *small),
            "aligner_without_pretraining": lambda: steps.train("aligner_without_pretraining", "asr_phrases", *small),
        }
    )
    alignment = steps.build_corpus(folder / "aligner")
    # Noise is added, since the recognizer must also handle speech other than eSpeak NG's, as of a voice in training.
    more = (f"--config.init_from={folder / 'aligner'}", "--config.total_steps=1200", f"--config.input.noise={NOISE}")
    steps.train("asr", "asr_phrases", *more, trains_on(f"{ALIGNED}:train"))
    transcripts = steps.transcribe()
    pretrain = steps.evaluation("pretrain")
    results: dict[str, Any] = {
        **{name: _error_rates(steps.evaluation(name)) for name in RECOGNIZERS},
        "alignment": alignment,
        "pretrain": {name: pretrain[name] for name in ("accuracy", "chance", "cross_entropy")},
        "transcripts": transcripts,
    }
    if tts:
        results["voice"] = train_voice(steps)
    results["minutes"] = (time.monotonic() - begun) / 60
    write_json(folder / "results.json", results)
    return results


def _error_rates(evaluation: dict) -> dict:
    by_language = {name: row["cer"] for name, row in evaluation["by_language"].items()}
    return {name: evaluation[name] for name in ("cer", "wer", "utterances")} | {"cer_by_language": by_language}


def format_results(results: dict) -> str:
    """The closing table."""
    lines = [
        "character error rate on unseen voices, %",
        f"{'':<10}" + "".join(f"{t:>22}" for t in RECOGNIZERS.values()),
    ]
    columns = [results[name]["cer_by_language"] | {"all": results[name]["cer"]} for name in RECOGNIZERS]
    for language in columns[0]:
        lines.append(f"{language:<10}" + "".join(f"{100 * column[language]:>22.2f}" for column in columns))
    gain = results["aligner_without_pretraining"]["cer"] - results["aligner"]["cer"]
    verdict = (
        f"On the small labeled part, pretraining lowers the CER by {100 * gain:.2f} points." if gain > 0 else
        f"On the small labeled part, pretraining raises the CER by {100 * -gain:.2f} points: it does not help."
    )  # fmt: skip
    alignment = results["alignment"]
    verdict += (
        f"\nThe aligner found {alignment['verses']} verses; their boundaries are {alignment['median_ms']:.0f} ms off "
        f"(median), 95 % of them less than {alignment['p95_ms']:.0f} ms; {alignment['lost']} verses are lost."
    )
    accuracy, chance = (100 * results["pretrain"][name] for name in ("accuracy", "chance"))
    lines += [
        verdict,
        f"Pretraining predicts the cluster of {accuracy:.1f} % of the masked frames; a guess, {chance:.1f} %.",
    ]
    if "voice" in results:
        lines += ["", "the voice, on held-out sentences", format_voice_scores(results["voice"])]
    lines.append(f"{results['minutes']:.1f} minutes.")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    leave(run_command(_run))


def _run() -> None:
    parser = argparse.ArgumentParser(prog="launch/local.sh quickstart", description=__doc__)
    parser.add_argument("folder", nargs="?", default="runs/quickstart", help="folder of all results")
    parser.add_argument("--tts", action="store_true", help="train a small voice too; a quarter of an hour more")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder)
    results = run(folder, tts=arguments.tts)
    pictures = plot_all(folder)
    print("\n" + format_results(results))
    print(f"\n{folder}/results.json\n" + "\n".join(str(picture) for picture in pictures))
    languages = ",".join(row["language"] for row in sorted(results["transcripts"], key=lambda row: row["file"]))
    print(f"\nUse it: .venv/bin/mms-jax transcribe {folder}/held_out/*.wav --model {folder}/asr --lang {languages}")
    if arguments.tts:
        print(f'         .venv/bin/mms-jax speak "{VOICE_TEXT}" --model {folder}/voice --out voice.wav')


if __name__ == "__main__":
    main()
