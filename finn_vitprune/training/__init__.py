"""Training: data sets, the loop with distillation and schedules, configs."""
