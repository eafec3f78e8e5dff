//! A one-process store for tests.
