mod any_inputs;
mod conversations;
mod hostile;
mod network;
mod tunnels;
mod world;
