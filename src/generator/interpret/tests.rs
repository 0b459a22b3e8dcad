//! Tests of the answers, built by hand and on the sweeps.
