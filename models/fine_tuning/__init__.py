"""Fine-tuning: training backbone and head on images."""
