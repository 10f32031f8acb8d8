//! What peers say to each other, as prost messages, and their conversion to raft's types. (Skeleton: bodies follow.)
