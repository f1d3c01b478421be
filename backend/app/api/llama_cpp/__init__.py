"""What llama.vim and llama.vscode ask of llama.cpp's server: `/infill`, and the probes `/health` and `/props`."""
