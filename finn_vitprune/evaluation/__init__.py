"""The accuracy of the accelerator's own integers over a data set, beside a float network's."""
