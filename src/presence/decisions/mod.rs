//! What has been decided, and for how long a weaker decision has to hold.
