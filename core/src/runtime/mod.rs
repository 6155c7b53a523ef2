//! The container runtime every binary uses: settings, logs, metrics, listeners, health, errors, drain.
