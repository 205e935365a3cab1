"""Why a deployed number differs: where spikes part, what causes it, and what each cause alone changes."""
