//! What two agents tell each other about policy and presence, inside IKE.
