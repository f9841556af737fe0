"""Everything that speaks ProtoGENI."""
