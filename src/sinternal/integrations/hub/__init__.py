"""What a run made as folders for the hub: a trained arm with its model card, a training set with its data card."""
