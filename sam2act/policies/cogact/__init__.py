"""CogACT: a vision-language backbone whose one feature conditions a diffusion head of actions."""
