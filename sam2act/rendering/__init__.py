"""Virtual-view rendering of point clouds and heat map <-> 3-D point conversions."""
