"""Training: the LightningModule, the plan of a run and its pipeline."""
