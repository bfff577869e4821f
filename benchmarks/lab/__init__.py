"""Real students: what each test of distillation can see, and how rarely it accuses the innocent."""
