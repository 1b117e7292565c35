"""wav2vec 2.0 with layer-norm extractor and pre-norm encoder, the backbone of every MMS model."""
