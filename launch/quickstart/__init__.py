"""The quickstart: python -m launch.quickstart [FOLDER] [--tts]."""

# The runs that are trained with transcripts, and their columns in the closing table.
RECOGNIZERS = {
    "aligner_without_pretraining": "aligner, from scratch",
    "aligner": "aligner, pretrained",
    "asr": "on aligned chapters",
}
