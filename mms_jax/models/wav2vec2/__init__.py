"""wav2vec 2.0 with a layer-norm feature extractor and a pre-norm encoder, the backbone of every MMS model."""
