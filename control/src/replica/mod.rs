//! The replica: the one door through which every write goes. Steps 2 and 3 of the way of the data: a command is proposed,
//! replicated, made durable, and applied to the catalog of this node.

pub mod messages;
