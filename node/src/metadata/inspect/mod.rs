//! What operators ask of a view: how long the queues are, what holds something, what a collection would take. Everything is
//! bounded, and nothing of it is on the path of a request.

mod queues;
mod trial;
mod why;

pub use trial::Trial;
