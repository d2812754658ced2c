D
"serve*2.15.11

xPlaceholder*
dtype0

rReadFilex