//! Config's pure part: what operators ask of the mesh, as YAML documents. Checks every document at once and gives one
//! command, or all complaints; renders what the catalog stores back to YAML. Must never do IO or touch the catalog.
