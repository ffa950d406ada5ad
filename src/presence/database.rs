//! The presence database (FIG. 6): what is believed of whom, since when and until when.
