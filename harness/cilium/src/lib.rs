//! What Cilium decides from its inputs, by version, and what the guide says it decides. Pure: knows no kernel.
