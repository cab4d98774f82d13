//! Downloads and last use, summed over sites.
