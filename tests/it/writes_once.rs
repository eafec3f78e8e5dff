//! writes_once
