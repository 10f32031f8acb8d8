//! What a proxy tells of its traffic: counted per edge in each worker, collected and sent by the control thread.

pub mod edges;
