"""The calls that llama.vim and llama.vscode make of llama.cpp's server: `/infill`, `/health` and `/props`."""
