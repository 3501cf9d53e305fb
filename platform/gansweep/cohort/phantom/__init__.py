"""Head-CT phantoms with and without bilateral basal-ganglia calcification."""
