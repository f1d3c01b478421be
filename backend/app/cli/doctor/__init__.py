"""What `reynard-diffusion doctor` looks at. A check gives findings, and is never stopped by what it finds."""
