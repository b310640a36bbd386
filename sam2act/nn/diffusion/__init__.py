"""Denoising diffusion: schedules, samplers, and a transformer that predicts noise in actions."""
