//! What one version is made of.
