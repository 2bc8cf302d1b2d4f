UPDATE people SET full_name = first_name || ' ' || last_name
WHERE id BETWEEN :from AND :to AND full_name IS NULL;
