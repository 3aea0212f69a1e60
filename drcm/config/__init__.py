"""cm.cfg: lines to sections to a frozen model, every fault at once."""
