"""Many designs side by side: networks, parts, engines; plans of all, builds of the best."""
